document.getElementById("place").textContent = "The page of the service.";
